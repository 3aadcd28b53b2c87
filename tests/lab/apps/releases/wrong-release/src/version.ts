export const VERSION = '4.1.0';
