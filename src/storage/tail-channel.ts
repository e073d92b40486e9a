/** The channel on which writers of the log tell its readers that there is more: one NOTIFY a batch, and only a hint. */
export const tailChannel = 'talos_log';
