export const VERSION = '4.2.0';
