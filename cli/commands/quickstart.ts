/** `talos quickstart`: what `scripts/start.sh` needs of the gateway's own code, and the hints that it prints. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { ensureLocalIssuer, grantLocally } from '../local-issuer.ts';
import { reportingUsage } from '../usage-error.ts';

const subject = 'quickstart-agent';
const scope = 'tool:weather tool:git tool:gateway/method:events.read';
const ttlSec = 86_400;

export function quickstartCommand(program: Command, clock: Clock = systemClock): void {
  const quickstart = program.command('quickstart').description('Prepare a gateway to try out, and print what to try.');
  addIssuer(quickstart);
  addHints(quickstart, clock);
}

function addIssuer(quickstart: Command): void {
  const issuer = quickstart
    .command('issuer')
    .description('Make the issuer key in the data folder if there is none, and print its DID.')
    .requiredOption('--data-dir <folder>', "the gateway's data folder");
  issuer.action(
    reportingUsage(issuer, async ({ dataDir }: { dataDir: string }) => {
      console.log((await ensureLocalIssuer(dataDir)).did);
    }),
  );
}

interface HintOptions {
  readonly dataDir: string;
  readonly url: string;
}

function addHints(quickstart: Command, clock: Clock): void {
  const hints = quickstart
    .command('hints')
    .description('Print commands that work when pasted, with a fresh capability in them.')
    .requiredOption('--data-dir <folder>', "the gateway's data folder")
    .requiredOption('--url <url>', 'where the gateway listens');
  hints.action(
    reportingUsage(hints, async ({ dataDir, url }: HintOptions) => {
      const token = grantLocally(await ensureLocalIssuer(dataDir), clock, { subject, scope, ttlSec });
      console.log(hintText(url, token, otherThanUsual(dataDir)));
    }),
  );
}

/** The data folder when commands have to be told of it: they look into that of the working folder. */
function otherThanUsual(dataDir: string): string | undefined {
  return resolve(dataDir) === resolve('.talos') ? undefined : dataDir;
}

function hintText(url: string, token: string, dataDir: string | undefined): string {
  const [option, variable] =
    dataDir === undefined ? ['', ''] : [` --data-dir '${dataDir}'`, `TALOS_DATA_DIR='${dataDir}' `];
  return `The gateway answers at ${url}

Call a tool, with a capability that is valid for a day:

  curl -s ${url}/v1/mcp/servers/weather/tools/get_forecast:call \\
    -H 'Authorization: Bearer ${token}' \\
    -H 'Content-Type: application/json' \\
    -d '{"input":{"city":"Lisbon"}}'

See its record:     curl -s '${url}/api/events?limit=1'
Watch a whole tour: ./scripts/talos demo --url ${url}${option}
Read the API docs:  ${url}/docs
Stop the gateway:   ${variable}./scripts/start.sh --stop`;
}
