/** A strict record as the views need it: its parts by name, with nothing thrown for what is absent. */
import { isJsonObject, type JsonObject, type JsonScalar, type JsonValue } from '../../src/core/json.ts';

export interface RecordView {
  readonly text: (name: string) => string;
  readonly http: JsonObject;
  readonly meta: JsonObject;
  readonly principal: JsonObject;
  readonly resource: JsonObject;
}

export function viewOf(record: JsonObject): RecordView {
  return {
    text: (name) => textAt(record, name),
    http: objectAt(record, 'http'),
    meta: objectAt(record, 'meta'),
    principal: objectAt(record, 'principal'),
    resource: objectAt(record, 'resource'),
  };
}

export function textAt(object: JsonObject, name: string): string {
  const value = object[name];
  return typeof value === 'string' ? value : '';
}

function objectAt(object: JsonObject, name: string): JsonObject {
  const value = object[name];
  return isJsonObject(value) ? value : {};
}

/** The members that are there and not empty. */
export function known(members: Readonly<Record<string, JsonValue | undefined>>): JsonObject {
  const kept = Object.entries(members).filter(([, value]) => value !== undefined && value !== '');
  return Object.fromEntries(kept) as JsonObject;
}

export function scalarText(value: JsonValue | undefined): string {
  return value === undefined || value === null ? '' : String(value as JsonScalar);
}
