/** A tool server that administrators added, and a change of it as it commits with the record that tells of it. */
import type { JsonObject } from './json.ts';

export interface StoredServer {
  readonly serverId: string;
  /** What it is, in the keys of the configuration file. Credentials are names of secrets. */
  readonly fields: JsonObject;
  /** Counts the changes of this server, from 1. */
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** All of them, as they are at `version`. */
export interface ServerBook {
  readonly version: number;
  readonly servers: readonly StoredServer[];
}

export type ServerChange =
  | { readonly kind: 'put'; readonly serverId: string; readonly fields: JsonObject }
  | { readonly kind: 'delete'; readonly serverId: string };
