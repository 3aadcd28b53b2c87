export const VERSION = '4.3.0';
