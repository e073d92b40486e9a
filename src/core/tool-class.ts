/** Whether a tool changes anything. What nobody has classified counts as if it did. */
export type ToolClass = 'read' | 'write' | 'unclassified';

/** What is known of a tool by the tool registry that the operator keeps; a server's own word for it is not taken. */
export interface KnownTool {
  readonly class: ToolClass;
  /** Names of further arguments that hold paths. */
  readonly pathArguments: readonly string[];
  /** Whether it may be called under an idempotency key only. */
  readonly requiresKey: boolean;
}

/** Of a tool that nobody has listed. */
export const unlistedTool: KnownTool = { class: 'unclassified', pathArguments: [], requiresKey: false };

export type KnownToolOf = (serverId: string, toolName: string) => KnownTool;
