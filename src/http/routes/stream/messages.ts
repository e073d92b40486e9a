/** What a client may say on the stream's WebSocket, and how it is read. */
import { type Static, Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { bounds } from '../../../config/bounds.ts';
import { TalosError } from '../../../core/errors.ts';
import { isJsonObject, type JsonObject } from '../../../core/json.ts';
import { parseJsonStrict } from '../../../core/strict-json.ts';
import type { StreamFilter } from '../../../stream/filter.ts';
import { streamFilterMembers, streamFilterOf } from '../events/read.ts';
import { SubmittedEventBody } from '../events/submit.ts';

const CursorText = Type.String({ maxLength: 128 });
const Filters = Type.Optional(Type.Union([Type.Object({}), Type.Null()]));

const Init = Type.Object({
  type: Type.Literal('init'),
  version: Type.Literal(1),
  capability: Type.String({ maxLength: bounds.capabilityTokenCharsMax }),
  nonce: Type.String({ minLength: 1, maxLength: bounds.streamNonceCharsMax }),
  ts: Type.String(),
  filters: Filters,
  after_cursor: Type.Optional(CursorText),
});

const Heartbeat = Type.Object({ type: Type.Literal('heartbeat'), last_cursor: CursorText });
const Ack = Type.Object({ type: Type.Literal('ack'), cursor: CursorText });
const Subscribe = Type.Object({
  type: Type.Literal('subscribe'),
  filters: Type.Union([Type.Object({}), Type.Null()]),
  after_cursor: Type.Optional(CursorText),
});
const Pause = Type.Object({ type: Type.Literal('pause') });
const Resume = Type.Object({ type: Type.Literal('resume'), after_cursor: Type.Optional(CursorText) });
const Publish = Type.Object({
  type: Type.Literal('publish'),
  id: Type.String({ pattern: `^[\\x21-\\x7e]{1,${bounds.requestIdCharsMax}}$` }),
  event: SubmittedEventBody,
  idempotency_key: Type.Optional(
    Type.String({ minLength: 1, maxLength: bounds.idempotencyKeyCharsMax, pattern: '^[\\x20-\\x7e]+$' }),
  ),
});

export type InitMessage = Static<typeof Init>;
export type PublishMessage = Static<typeof Publish>;
export type ClientMessage =
  | Static<typeof Heartbeat>
  | Static<typeof Ack>
  | Static<typeof Subscribe>
  | Static<typeof Pause>
  | Static<typeof Resume>
  | PublishMessage;

const initCheck = Compile(Init);
const checks = {
  heartbeat: Compile(Heartbeat),
  ack: Compile(Ack),
  subscribe: Compile(Subscribe),
  pause: Compile(Pause),
  resume: Compile(Resume),
  publish: Compile(Publish),
};

/** Throws `INVALID_REQUEST` or `INVALID_JSON`: as all of these functions. */
export function readInit(text: string): InitMessage {
  const value = objectOf(text);
  if (!initCheck.Check(value)) throw invalid("First message must be valid 'init'", firstFault(initCheck, value));
  return value;
}

export function readMessage(text: string): ClientMessage {
  const value = objectOf(text);
  const { type } = value;
  const check =
    typeof type === 'string' && Object.hasOwn(checks, type) ? checks[type as keyof typeof checks] : undefined;
  if (check === undefined) throw invalid('This type of message is not known.');
  if (!check.Check(value)) throw invalid(`The message '${String(type)}' is not valid`, firstFault(check, value));
  return value as unknown as ClientMessage;
}

const filterCheck = Compile(Type.Object(streamFilterMembers, { additionalProperties: false }));

/** Members that are null or empty filter nothing. */
export function readFilter(filters: object | null | undefined): StreamFilter {
  const given = Object.fromEntries(
    Object.entries(filters ?? {}).filter(([, value]) => value !== null && value !== undefined && value !== ''),
  );
  if (!filterCheck.Check(given)) throw invalid('The filters are not valid', firstFault(filterCheck, given));
  return streamFilterOf(given);
}

function objectOf(text: string): JsonObject {
  const value = parseJsonStrict(text);
  if (!isJsonObject(value)) throw invalid('A message is a JSON object.');
  return value;
}

interface Fault {
  readonly instancePath?: string;
  readonly message?: string;
}

// Where, and what is expected there; never what was sent.
function firstFault(check: { readonly Errors: (value: unknown) => Iterable<unknown> }, value: unknown): string {
  const [fault] = [...check.Errors(value)] as Fault[];
  return `${fault?.instancePath ?? ''} ${fault?.message ?? 'is not valid'}`.trim();
}

function invalid(message: string, error?: string): TalosError {
  return new TalosError('INVALID_REQUEST', { message, ...(error === undefined ? {} : { details: { error } }) });
}
