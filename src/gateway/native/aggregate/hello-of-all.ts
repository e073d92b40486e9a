/** What all servers together say of themselves: what any of them has, and what each wants a model to keep in mind. */
import { bounds } from '../../../config/bounds.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../../core/json.ts';

/** What the caller may use of one server. */
export interface HelloPart {
  readonly serverId: string;
  readonly capabilities: JsonObject;
  readonly instructions?: string;
}

const naming =
  'Tools and prompts of several servers, named <server>__<name>. Resources are named talos+<server>+<URI>, where the server knows the URI alone.';

export function helloOfAll(parts: readonly HelloPart[]): {
  readonly capabilities: JsonObject;
  readonly instructions: string;
} {
  const of = (name: string): JsonValue[] => parts.flatMap(({ capabilities: { [name]: has = null } }) => has ?? []);
  // Servers come and go, and what goes with them is told, whatever they tell themselves.
  const listChanged = true;
  const resources = of('resources');
  const subscribe = resources.some((has) => isJsonObject(has) && has['subscribe'] === true);
  return {
    instructions: instructionsOf(parts),
    capabilities: {
      tools: { listChanged },
      ...(resources.length > 0 ? { resources: { listChanged, ...(subscribe ? { subscribe } : {}) } } : {}),
      ...(of('prompts').length > 0 ? { prompts: { listChanged } } : {}),
      ...(of('completions').length > 0 ? { completions: {} } : {}),
      ...(of('logging').length > 0 ? { logging: {} } : {}),
    },
  };
}

/** Each whole, or not at all where there is no room left; the shortest first, so that who says much takes nobody's room. */
function instructionsOf(parts: readonly HelloPart[]): string {
  const said = parts.flatMap(({ serverId, instructions }) =>
    instructions === undefined ? [] : [`\n\n# ${serverId}\n\n${instructions}`],
  );
  const heard = new Set<string>();
  let length = naming.length;
  for (const text of said.toSorted((a, b) => a.length - b.length)) {
    length += text.length;
    if (length <= bounds.aggregateInstructionsCharsMax) heard.add(text);
  }
  return naming + said.filter((text) => heard.has(text)).join('');
}
