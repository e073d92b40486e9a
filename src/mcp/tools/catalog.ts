/**
 * What tools one server has, as it last said: believed for a bounded time, or until there is reason to doubt it. Whoever
 * asks while the list is being fetched shares that fetch. A list that cannot be refreshed is not believed any longer.
 */

import type { Clock } from '../../core/clock.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../core/json.ts';
import { SingleFlight } from '../../core/single-flight.ts';
import type { Log } from '../../telemetry/telemetry.ts';
import { Deadline } from '../deadline.ts';
import type { McpBounds } from '../mcp-bounds.ts';
import { depthWithin } from '../protocol/json-depth.ts';
import type { Mirror } from '../protocol/mirror.ts';
import { mirrorsOf } from '../protocol/mirror-headers.ts';
import type { CatalogTool, ResultFault } from './catalog-tool.ts';
import type { InputValidators } from './input-validator.ts';
import { definitionHash, definitionProblem, schemaHash, type ToolDefinition } from './tool-definition.ts';
import type { ListedTools } from './tool-list.ts';

export interface CatalogOptions {
  readonly serverId: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly bounds: McpBounds;
  readonly validators: InputValidators;
  readonly fetchTimeoutMs: number;
  readonly fetch: (deadline: Deadline) => Promise<ListedTools>;
  /** Whose tools are taken over where they are the same, so that they are kept once. */
  readonly likeness?: Catalog;
}

interface Entry extends CatalogTool {
  /** The definition as text, to see whether it changed without hashing it again. */
  readonly text: string;
  listedAtMs: number;
}

interface Snapshot {
  readonly definitions: readonly ToolDefinition[];
  readonly entries: ReadonlyMap<string, Entry>;
  readonly fetchedAtMs: number;
}

export class Catalog {
  readonly #options: CatalogOptions;
  readonly #fetching = new SingleFlight<Snapshot>();
  #snapshot: Snapshot | undefined;
  #doubts = 0;
  #doubtsMet = 0;
  readonly #said = new Set<string>();

  constructor(options: CatalogOptions) {
    this.#options = options;
  }

  async list(deadline: Deadline): Promise<readonly ToolDefinition[]> {
    return (await this.#fresh(deadline)).definitions;
  }

  /** The same with their hashes. */
  async tools(deadline: Deadline): Promise<readonly CatalogTool[]> {
    return [...(await this.#fresh(deadline)).entries.values()];
  }

  async find(name: string, deadline: Deadline): Promise<CatalogTool | undefined> {
    const snapshot = await this.#fresh(deadline);
    const found = snapshot.entries.get(name);
    // It may have been added since; asking again is bounded, or anyone could make us ask without end.
    if (found !== undefined || this.#age(snapshot) < this.#options.bounds.toolListMissRefreshMs) return found;
    return (await this.#fetch(deadline)).entries.get(name);
  }

  /** Which arguments of a tool its server wants mirrored in headers, as far as the list is known. */
  mirrorsOf(name: string): readonly Mirror[] {
    return this.#snapshot?.entries.get(name)?.mirrors ?? [];
  }

  /** The list may be out of date: the next use fetches it. Also noticed when a fetch is already under way. */
  doubt(): void {
    this.#doubts++;
  }

  async #fresh(deadline: Deadline): Promise<Snapshot> {
    const snapshot = this.#snapshot;
    const believed =
      snapshot !== undefined &&
      this.#doubts === this.#doubtsMet &&
      this.#age(snapshot) < this.#options.bounds.toolListFreshMs;
    return believed ? snapshot : this.#fetch(deadline);
  }

  #age(snapshot: Snapshot): number {
    return this.#options.clock.monotonic() - snapshot.fetchedAtMs;
  }

  #fetch(deadline: Deadline): Promise<Snapshot> {
    return deadline.wait(this.#fetching.run(() => this.#fetchNow()));
  }

  async #fetchNow(): Promise<Snapshot> {
    const { clock, fetch, fetchTimeoutMs } = this.#options;
    const doubts = this.#doubts;
    const askedAtMs = clock.monotonic();
    const listed = await fetch(new Deadline(clock, fetchTimeoutMs));
    if (listed.cut !== undefined) this.#say(`not all of its tools are listed: ${listed.cut}`);
    this.#snapshot = this.#snapshotOf(listed.tools, askedAtMs);
    this.#doubtsMet = doubts;
    return this.#snapshot;
  }

  #snapshotOf(tools: readonly JsonValue[], askedAtMs: number): Snapshot {
    const entries = new Map<string, Entry>();
    for (const tool of tools) {
      const problem = this.#problemOf(tool, entries);
      if (problem !== undefined) this.#say(`a tool is not offered: ${problem}`, tool);
      else this.#add(tool as ToolDefinition, entries);
    }
    for (const entry of entries.values()) entry.listedAtMs = Math.max(entry.listedAtMs, askedAtMs);
    return {
      definitions: [...entries.values()].map(({ definition }) => definition),
      entries,
      fetchedAtMs: this.#options.clock.monotonic(),
    };
  }

  #problemOf(tool: JsonValue, entries: ReadonlyMap<string, Entry>): string | undefined {
    const { bounds } = this.#options;
    const problem = definitionProblem(tool, bounds.toolNameCharsMax);
    if (problem !== undefined) return problem;
    if (entries.has((tool as ToolDefinition).name)) return 'another one has the same name';
    return depthWithin(tool, bounds.toolDefinitionDepthMax) ? undefined : 'its definition is nested too deeply';
  }

  #add(definition: ToolDefinition, entries: Map<string, Entry>): void {
    const text = JSON.stringify(definition);
    const { likeness = this } = this.#options;
    const known = likeness.#snapshot?.entries.get(definition.name);
    try {
      entries.set(definition.name, known?.text === text ? known : this.#entryOf(definition, text));
    } catch {
      // A definition that has no canonical form has no hash either, and could not be pinned.
      this.#say('a tool is not offered: its definition has no canonical form', definition);
    }
  }

  #entryOf(definition: ToolDefinition, text: string): Entry {
    const { validators, bounds } = this.#options;
    const hash = schemaHash(definition.inputSchema);
    const outputSchema = definition['outputSchema'];
    return {
      definition,
      text,
      schemaHash: hash,
      definitionHash: definitionHash(definition),
      validate: (input) => validators.validate(definition.inputSchema, hash, input),
      mirrors: depthWithin(definition.inputSchema, bounds.toolSchemaDepthMax) ? mirrorsOf(definition.inputSchema) : [],
      ...(isJsonObject(outputSchema) ? { resultFault: resultFaultBy(validators, outputSchema) } : {}),
      listedAtMs: Number.NEGATIVE_INFINITY,
    };
  }

  /** Each thing once, not with every refresh. */
  #say(problem: string, tool?: JsonValue): void {
    const name = isJsonObject(tool) && typeof tool['name'] === 'string' ? tool['name'].slice(0, 128) : undefined;
    const key = `${problem} ${name}`;
    if (this.#said.has(key) || this.#said.size >= this.#options.bounds.toolsPerServerMax) return;
    this.#said.add(key);
    this.#options.log.warn({ server: this.#options.serverId, ...(name !== undefined && { tool: name }) }, problem);
  }
}

function resultFaultBy(validators: InputValidators, schema: JsonObject) {
  const hash = schemaHash(schema);
  return ({ structuredContent }: JsonObject & { structuredContent?: JsonValue }): ResultFault | undefined => {
    if (structuredContent === undefined) return 'missing';
    return validators.resultFault(schema, hash, structuredContent);
  };
}
