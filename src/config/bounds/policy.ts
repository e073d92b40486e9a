/** What callers may: capabilities, roles, and the secrets that only some may set. */
export const policyBounds = {
  // Capabilities
  capabilityTokenCharsMax: 16 * 1024,
  capabilityCacheEntriesMax: 10_000,
  capabilityTtlSecMax: 3_650 * 86_400,
  constraintListItemsMax: 256,
  constraintNameCharsMax: 256,
  // Other requests wait for it.
  constraintSchemaCompileMsMax: 250,
  pathGlobsMax: 32,
  pathGlobCharsMax: 512,
  pathArgumentsMax: 64,
  pathArgumentCharsMax: 4_096,
  clockSkewSec: 60,
  // What is known of revocations: asked for this often, and good for this long.
  revocationPollMs: 250,
  revocationAgeMsMax: 1_000,
  revocationQueryTimeoutMs: 2_000,
  revocationPageRows: 10_000,
  revocationsMax: 1_000_000,
  // The store forgets as late: clocks differ, and nothing hurries.
  revocationKeptAfterEndSec: 86_400,
  revocationsListMax: 500,

  // Roles and secrets. What is known of roles is believed for that long when nobody can say whether they changed.
  rolePollMs: 250,
  roleAgeMsMax: 5_000,
  rolesMax: 1_000,
  roleBindingsMax: 10_000,
  rolePermissionsMax: 256,
  roleDescriptionCharsMax: 500,
  bindingsAtOnceMax: 256,
  secretsMax: 10_000,
  secretValueCharsMax: 65_536,
  secretFreshMs: 1_000,
  secretRotationPage: 100,
  secretRotationSilentMs: 60_000,
} as const;
