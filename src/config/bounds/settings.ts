/** Settings, and the end of the process. */
export const settingBounds = {
  configFileBytesMax: 1024 * 1024,
  configAliasesMax: 100,
  settingTextCharsMax: 256,
  settingListItemsMax: 1_000,
  commandWordsMax: 64,
  quotedValueCharsMax: 60,
  shutdownDrainSecDefault: 30,
  shutdownDrainSecMin: 1,
  shutdownDrainSecMax: 300,
  adminSecretCharsMin: 16,
  ipHmacKeyCharsMin: 32,
} as const;
