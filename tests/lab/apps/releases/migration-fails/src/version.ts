export const VERSION = '6.1.0';
