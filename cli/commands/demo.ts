/**
 * `talos demo`: a tour of a running gateway. Each step says what it does, shows what came back and fails loudly when that
 * is not what it should be; the last one recomputes a record's hash from nothing but its bytes.
 */
import type { Command } from 'commander';
import { canonicalize } from '../../src/core/canonical-json.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { sha256Hex } from '../../src/core/hash.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/core/json.ts';
import { trust, verifyReceipt } from '../../verifier/index.ts';
import { type GatewayAnswer, type GatewayClient, gatewayClient } from '../gateway-client.ts';
import { gatewayUrlDefault } from '../gateway-url.ts';
import { grantLocally, issuerKeyPath, readLocalIssuer } from '../local-issuer.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

interface DemoOptions {
  readonly url: string;
  readonly dataDir: string;
  readonly key?: string;
}

const subject = 'demo-agent';
const ttlSec = 300;
const server = 'weather';
const allowedTool = 'get_forecast';
const otherTool = 'list_cities';

export function demoCommand(program: Command, clock: Clock = systemClock): void {
  const demo = program
    .command('demo')
    .description('Take a tour of a gateway that ./scripts/start.sh has started.')
    .option('--url <url>', 'where the gateway listens', gatewayUrlDefault)
    .option('--data-dir <folder>', "the gateway's data folder, which holds the issuer key", '.talos')
    .option('--key <file>', 'the private key of another issuer that the gateway trusts');
  demo.action(reportingUsage(demo, (options: DemoOptions) => tour(options, clock)));
}

async function tour(options: DemoOptions, clock: Clock): Promise<void> {
  const issuer = await readLocalIssuer(options.key ?? issuerKeyPath(options.dataDir));
  const client = gatewayClient(options.url);
  const narrow = `tool:${server}/method:${allowedTool}`;
  const token = grantLocally(issuer, clock, { subject, scope: narrow, ttlSec });
  const reader = grantLocally(issuer, clock, { subject, scope: 'tool:gateway/method:events.read', ttlSec });

  step(1, `A capability for ${subject}: ${narrow}, valid for ${ttlSec / 60} minutes`);
  show(`issued by ${issuer.did}`);
  await listTools(client, token);
  const allowed = await callAllowed(client, token);
  const denied = await callDenied(client, token);
  const mismatched = await callWithBadArguments(client, token);
  await showRecords(client, reader, [allowed, denied, mismatched]);
  await verifyRecord(client, reader, allowed);
  await verifyReceiptOf(client, reader, allowed);
}

async function listTools(client: GatewayClient, token: string): Promise<void> {
  step(2, `What it shows of the server '${server}'`);
  const answer = await client.get(`/v1/mcp/servers/${server}/tools`, token);
  expectStatus(answer, 200);
  const tools = answer.body['tools'];
  for (const tool of Array.isArray(tools) ? tools : []) show(`${text(tool, 'name')}: ${text(tool, 'description')}`);
}

async function callAllowed(client: GatewayClient, token: string): Promise<string> {
  step(3, `A call that it allows: ${allowedTool}`);
  const answer = await call(client, token, allowedTool, { city: 'Lisbon' });
  expectStatus(answer, 200);
  if (!isJsonObject(answer.body['output'])) throw surprise(answer);
  show(firstText(answer.body['output']));
  return auditRef(answer);
}

async function callDenied(client: GatewayClient, token: string): Promise<string> {
  step(4, `A call that it does not: ${otherTool}`);
  const answer = await call(client, token, otherTool, {});
  expectStatus(answer, 403);
  show(`denied: ${text(answer.body, 'message')} (${text(answer.body['details'], 'denial_reason')})`);
  return auditRef(answer);
}

async function callWithBadArguments(client: GatewayClient, token: string): Promise<string> {
  step(5, 'Arguments that the tool does not take; the server never sees them');
  const answer = await call(client, token, allowedTool, { town: 'Lisbon' });
  expectStatus(answer, 200);
  show(`refused: ${text(answer.body['error'], 'message')}`);
  return auditRef(answer);
}

async function showRecords(client: GatewayClient, token: string, refs: readonly string[]): Promise<void> {
  step(6, 'All three are on record, durable before they were answered');
  for (const ref of refs) {
    const { record, seq } = await fetchRecord(client, token, ref);
    show(`#${seq}  ${text(record, 'ts')}  ${text(record, 'outcome').padEnd(7)}  ${ref}`);
  }
}

async function verifyRecord(client: GatewayClient, token: string, ref: string): Promise<void> {
  step(7, `Recomputing the hash of ${ref}`);
  const { record } = await fetchRecord(client, token, ref);
  const { event_hash: claimed, ...hashed } = record;
  const computed = sha256Hex(canonicalize(hashed));
  show(`the log says  ${String(claimed)}`);
  show(`we computed   ${computed}`);
  if (claimed !== computed) throw new UsageError('The record does not have the hash that the log claims.');
}

/** Takes the receipt of a record and judges it as a stranger would: with the log's key, and without the gateway. */
async function verifyReceiptOf(client: GatewayClient, token: string, ref: string): Promise<void> {
  step(8, 'Its receipt: the proof that it is in the log, under a signed checkpoint');
  const receipt = await client.get(`/api/events/${ref}/proof`, token);
  const keys = await client.get('/log/keys', token);
  expectStatus(receipt, 200);
  expectStatus(keys, 200);
  const trusted = await trust({ vkeys: keys.body['keys'] as string[] });
  const report = await verifyReceipt(JSON.stringify(receipt.body), trusted);
  for (const check of report.checks) show(`${check.ok ? 'ok  ' : 'FAIL'}  ${check.name}: ${check.detail}`);
  if (!report.ok) throw new UsageError('The receipt does not verify.');
  console.log('\nVerified: the record is in the log, as it was when it was answered.');
}

async function call(client: GatewayClient, token: string, tool: string, input: JsonObject): Promise<GatewayAnswer> {
  return await client.post(`/v1/mcp/servers/${server}/tools/${tool}:call`, token, { input });
}

async function fetchRecord(
  client: GatewayClient,
  token: string,
  ref: string,
): Promise<{ record: JsonObject; seq: string }> {
  const answer = await client.get(`/api/events/${ref}`, token);
  expectStatus(answer, 200);
  const { record, seq } = answer.body;
  if (!isJsonObject(record)) throw surprise(answer);
  return { record, seq: String(seq) };
}

function step(number: number, title: string): void {
  console.log(`\n${number}. ${title}`);
}

function show(line: string): void {
  console.log(`   ${line.replaceAll('\n', '\n   ')}`);
}

function expectStatus(answer: GatewayAnswer, status: number): void {
  if (answer.status !== status) throw surprise(answer);
}

function surprise(answer: GatewayAnswer): UsageError {
  const said = text(answer.body, 'message') || JSON.stringify(answer.body).slice(0, 300);
  return new UsageError(`The gateway answered ${answer.status}: ${said}`);
}

function auditRef(answer: GatewayAnswer): string {
  const ref = text(answer.body, 'audit_ref');
  if (ref === '') throw surprise(answer);
  return ref;
}

function text(value: JsonValue | undefined, key: string): string {
  const member = isJsonObject(value) ? value[key] : undefined;
  return typeof member === 'string' ? member : '';
}

function firstText(output: JsonObject): string {
  const content = output['content'];
  const first = Array.isArray(content) ? (content[0] as JsonValue) : undefined;
  return text(first, 'text') || JSON.stringify(output);
}
