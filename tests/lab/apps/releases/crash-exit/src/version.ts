export const VERSION = '3.2.0';
