/** One record as one line for people. */
import { isJsonObject, type JsonObject, type JsonValue } from '../src/core/json.ts';
import { printable } from './printable.ts';

const colours: Readonly<Record<string, string>> = { OK: '32', DENY: '33', ERROR: '31' };
const outcomeChars = 5;
const typeChars = 16;

/** Time, outcome, type, agent, what it was about, and the id; in colours where somebody looks at them. */
export function tailLine(item: JsonObject, isColoured: boolean): string {
  const outcome = textOf(item['outcome']);
  const about = [textOf(item['tool']) || textOf(item['resource']) || textOf(item['method']), reasonOf(item)];
  const fields = [
    paint('2', textOf(item['ts']), isColoured),
    paint(colours[outcome], outcome.padEnd(outcomeChars), isColoured),
    textOf(item['event_type']).padEnd(typeChars),
    textOf(item['agent_id']) || '-',
    ...about.filter((text) => text !== ''),
    paint('2', textOf(item['event_id']), isColoured),
  ];
  return fields.join('  ');
}

function reasonOf(item: JsonObject): string {
  const latency = isJsonObject(item['metrics']) ? item['metrics']['latency_ms'] : undefined;
  const reason = textOf(item['denial_reason']);
  return reason === '' && typeof latency === 'number' ? `${latency} ms` : reason;
}

function textOf(value: JsonValue | undefined): string {
  return typeof value === 'string' ? printable(value) : '';
}

function paint(code: string | undefined, text: string, isColoured: boolean): string {
  return isColoured && code !== undefined ? `\u001b[${code}m${text}\u001b[0m` : text;
}
