/** The bounds of this room, as a type that lets a test draw them tighter. */
import { bounds } from '../config/bounds.ts';

type McpBoundName = Extract<
  keyof typeof bounds,
  `upstream${string}` | `tool${string}` | `stdio${string}` | `validat${string}` | `pattern${string}`
>;

export type McpBounds = Readonly<Record<McpBoundName, number>>;

export const mcpBounds: McpBounds = bounds;
