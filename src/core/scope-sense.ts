/** Whether a scope can ever grant anything here: what cannot is a mistake of whoever writes it, to be told before it is signed. */
import { gatewayActions } from './known-permissions.ts';
import { anyValue, formatScope, gatewayServer, parseScope, type Scope } from './scope.ts';

/** Why the scope that `text` spells grants nothing, as a sentence; undefined when it can grant something. */
export function scopeFault(text: string): string | undefined {
  const scope = parseScope(text);
  if (scope === undefined) {
    return `${quoted(text)} is not a scope; write tool:<server>, tool:<server>/method:<tool> or tool:*, with % / : * in names percent-encoded.`;
  }
  return actionFault(scope) ?? resourceFault(scope);
}

function actionFault({ server, method }: Scope): string | undefined {
  if (server !== gatewayServer || method === undefined || method === anyValue || gatewayActions.has(method))
    return undefined;
  return `${quoted(method)} is no action of the gateway; ${formatScope({ server, method: 'events.read' })} names one.`;
}

// A tool call is of no resource; methods of MCP are.
function resourceFault({ server, method, resource }: Scope): string | undefined {
  if (resource === undefined) return undefined;
  const isOfMethod = method === undefined || method === anyValue || method.startsWith('rpc.');
  if (isOfMethod && server !== gatewayServer) return undefined;
  return 'A scope with a resource grants methods of MCP, such as method:rpc.resources.read, and neither tools nor actions of the gateway; conditions on arguments are constraints.';
}

const quotedCharsMax = 100;

function quoted(text: string): string {
  return JSON.stringify(text.length <= quotedCharsMax ? text : `${text.slice(0, quotedCharsMax)}…`);
}
