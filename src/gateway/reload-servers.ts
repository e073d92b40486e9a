/** The servers of file and environment were read again: they count at once, and a record says what changed. */
import type { Recorder } from '../audit/recorder.ts';
import { describeError } from '../core/errors.ts';
import type { McpServerSpec } from '../core/mcp-server.ts';
import { ownDraft } from '../core/own-draft.ts';
import type { RegistryChange } from '../mcp/registry.ts';
import type { ToolServers } from '../mcp/stored-servers.ts';
import type { Log } from '../telemetry/telemetry.ts';

export interface ReloadServersOptions {
  readonly toolServers: Pick<ToolServers, 'reconfigure'>;
  readonly recorder: Pick<Recorder, 'record'>;
  readonly log: Log;
}

/** Throws `INVALID_REQUEST` as the registry does; nothing is changed then. */
export type ReloadServers = (configured: readonly McpServerSpec[]) => Promise<RegistryChange>;

export function createReloadServers({ toolServers, recorder, log }: ReloadServersOptions): ReloadServers {
  return async (configured) => {
    const change = toolServers.reconfigure(configured);
    const { added, changed, removed } = change;
    if (added.length + changed.length + removed.length === 0) return change;
    try {
      await record(recorder, change);
    } catch (error) {
      // The operator's file counts whatever the log says; every call of such a server needs a record of its own.
      log.error({ reason: describeError(error) }, 'the reload of the tool servers is not on record');
    }
    return change;
  };
}

async function record(recorder: Pick<Recorder, 'record'>, { added, changed, removed }: RegistryChange): Promise<void> {
  await recorder.record({
    ...ownDraft('mcp.servers.reload'),
    resource: { type: 'configuration', id: 'servers' },
    meta: {
      event_type: 'configuration',
      servers_added: added.length,
      servers_changed: changed.length,
      servers_removed: removed.length,
    },
    details: { added, changed, removed },
  });
}
