/** What administrators ask for and change, wired to the parts that `open-administration.ts` opened. */
import type { Recorder } from './audit/recorder.ts';
import type { Config } from './config/config.ts';
import type { Clock } from './core/clock.ts';
import type { Administer } from './gateway/administer.ts';
import type { AuthorizeAction } from './gateway/authorize-action.ts';
import { createConfigSnapshots } from './gateway/config-snapshot.ts';
import { createManageApprovals } from './gateway/manage-approvals.ts';
import { createManagePins } from './gateway/manage-pins.ts';
import { createManagePolicies } from './gateway/manage-policies.ts';
import { createManageRoles } from './gateway/manage-roles.ts';
import { createManageSecrets } from './gateway/manage-secrets.ts';
import { createManageServers } from './gateway/manage-servers.ts';
import { runRotation } from './gateway/secret-rotation.ts';
import { createWhoAmI } from './gateway/who-am-i.ts';
import type { Registry } from './mcp/registry.ts';
import type { ToolServers } from './mcp/stored-servers.ts';
import type { Administration } from './open-administration.ts';
import type { ToolRules } from './open-tool-rules.ts';
import type { UpstreamTokens } from './open-upstream-tokens.ts';
import type { PolicyMode } from './policy/decide.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface AdministrationCorridorOptions {
  readonly administration: Administration;
  readonly authorizeAction: AuthorizeAction;
  readonly administer: Administer;
  readonly policyMode: PolicyMode;
  readonly delivery: { readonly recorder: Pick<Recorder, 'record'> };
  readonly registry: Pick<Registry, 'servers' | 'get' | 'test'>;
  readonly toolServers: ToolServers;
  readonly tokens: Pick<UpstreamTokens, 'connections' | 'clients' | 'vault' | 'credentials'>;
  readonly rules: ToolRules;
  readonly config: Pick<Config, 'region' | 'environmentSecretNames' | 'managedStdioServers'>;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

export function administrationCorridors(options: AdministrationCorridorOptions) {
  const { administration, authorizeAction, administer, policyMode, registry, rules, config, clock, telemetry } =
    options;
  const { recorder } = options.delivery;
  const { roles, secretStore: store, vault } = administration;
  const forRoles = { authorizeAction, administer, roles, policyMode, clock };
  const rotation = {
    store,
    vault,
    tokens: options.tokens,
    recorder,
    log: telemetry.log,
    signal: administration.signal,
  };
  return {
    authorizeAction,
    whoAmI: createWhoAmI(roles, policyMode),
    startedAt: new Date(clock.now()),
    manageRoles: createManageRoles(forRoles),
    manageSecrets: createManageSecrets({
      authorizeAction,
      administer,
      store,
      vault,
      alsoSealed: [options.tokens.connections, options.tokens.clients],
      environmentNames: config.environmentSecretNames,
      rotate: (opId, targetKekId) => administration.run(() => runRotation(rotation, opId, targetKekId)),
    }),
    manageServers: createManageServers({
      ...{ authorizeAction, administer, recorder, registry, toolServers: options.toolServers },
      credentials: options.tokens.credentials,
      stdioAllowed: config.managedStdioServers,
    }),
    managePins: createManagePins({ authorizeAction, administer, pins: rules.pins, store: rules.pinStore }),
    manageApprovals: createManageApprovals({
      ...{ authorizeAction, administer, policyMode, telemetry },
      store: rules.approvalStore,
      waiters: rules.waiters,
      readKeys: vault.keys,
    }),
    managePolicies: createManagePolicies({ authorizeAction, administer, policies: rules.policies, clock }),
    configSnapshots: createConfigSnapshots({ ...forRoles, servers: registry.servers, origin: config.region }),
  };
}
