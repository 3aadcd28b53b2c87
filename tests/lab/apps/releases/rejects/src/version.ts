export const VERSION = '3.1.0';
