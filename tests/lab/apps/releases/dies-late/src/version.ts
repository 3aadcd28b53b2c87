export const VERSION = '5.1.0';
