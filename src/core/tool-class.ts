/** Whether a tool changes anything. What nobody has classified counts as if it did. */
export type ToolClass = 'read' | 'write' | 'unclassified';

/** The class of a tool by the tool registry that the operator keeps; a server's own word for it is not taken. */
export type ToolClassOf = (serverId: string, toolName: string) => ToolClass;
