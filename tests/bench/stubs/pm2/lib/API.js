// By this file the module of PM2 is known; nothing on a host of the bench reads it.
