/** The pin of a tool: the definition that was approved, by its hash, and a change of pins as it commits with its record. */

export interface ToolPin {
  readonly serverId: string;
  readonly toolName: string;
  /** `sha256:` and the hex hash of the definition that may be used. */
  readonly definitionHash: string;
  readonly pinnedAt: Date;
  /** Another definition that the server gave since, and what became of it. */
  readonly held?: HeldDefinition;
}

export interface HeldDefinition {
  readonly definitionHash: string;
  readonly state: 'held' | 'rejected';
  readonly since: Date;
}

export type PinState = 'pinned' | HeldDefinition['state'];

/** How the pins of a server behave: a changed definition is refused until somebody approves it, or taken and recorded. */
export const pinModes = ['enforce', 'record'] as const;
export type PinMode = (typeof pinModes)[number];

/** Each applies to what is there when it commits; what is otherwise by then stays so. */
export type PinChange =
  | { readonly kind: 'pin'; readonly serverId: string; readonly tools: readonly NamedDefinition[] }
  /** `release`: of what is held, because the server took it back. */
  | ({ readonly kind: 'hold' | 'release' | 'approve' | 'reject'; readonly serverId: string } & NamedDefinition)
  /** Of one tool, or of all tools of the server. */
  | { readonly kind: 'forget'; readonly serverId: string; readonly toolName?: string };

export interface NamedDefinition {
  readonly toolName: string;
  readonly definitionHash: string;
}
