/** How this room reports: a level and a sentence. The caller turns it into its own log. */
export type EmbeddedLog = (level: 'debug' | 'info' | 'warn' | 'error', message: string) => void;
