export const VERSION = '3.3.0';
