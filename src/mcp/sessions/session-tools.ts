/**
 * The tools that a server shows in one client's own session. Nearly always they are those that everybody is shown, and
 * then nothing is kept of them; a list of its own is kept in bounds, which all sessions with the server share.
 */
import type { Clock } from '../../core/clock.ts';
import type { Log } from '../../telemetry/telemetry.ts';
import { Deadline } from '../deadline.ts';
import type { McpBounds } from '../mcp-bounds.ts';
import type { Catalog } from '../tools/catalog.ts';
import type { CatalogTool } from '../tools/catalog-tool.ts';

/** What is kept of lists that are not everybody's, in UTF-16 code units of definitions. */
export interface SessionToolsBudget {
  chars: number;
}

export interface SessionToolsOptions {
  readonly serverId: string;
  /** What everybody is shown. */
  readonly shared: Catalog;
  /** What the session is shown, as a list that is fetched once; what is the same is the same object. */
  readonly list: () => Catalog;
  /** Whether the server says that its tools have changed. */
  readonly announces: boolean;
  readonly budget: SessionToolsBudget;
  readonly listTimeoutMs: number;
  readonly bounds: Pick<McpBounds, 'toolListsOwnCharsMax' | 'toolListFreshMs' | 'toolListMissRefreshMs'>;
  readonly clock: Clock;
  readonly log: Log;
  /** Told when they turn out not to be those that the client was shown before it had its session. */
  readonly onOthers: () => void;
}

export class SessionTools {
  readonly #options: SessionToolsOptions;
  #current: Promise<Catalog>;
  #lookedAtMs = 0;
  #isDoubted = false;
  #isClosed = false;
  #chars = 0;

  constructor(options: SessionToolsOptions) {
    this.#options = options;
    this.#current = this.#look();
    void this.#current.then((catalog) => catalog !== options.shared && options.onOthers());
  }

  /** Throws `UpstreamError`, never dispatched. */
  async catalogTools(signal: AbortSignal): Promise<readonly CatalogTool[]> {
    const deadline = this.#deadline(signal);
    return (await this.#catalog(deadline)).tools(deadline);
  }

  /** One tool by its exact name. Throws `UpstreamError`, never dispatched. */
  async tool(name: string, signal: AbortSignal): Promise<CatalogTool | undefined> {
    const deadline = this.#deadline(signal);
    const found = await (await this.#catalog(deadline)).find(name, deadline);
    // It may have been added since.
    if (found !== undefined || this.#ageMs < this.#options.bounds.toolListMissRefreshMs) return found;
    this.doubt();
    return (await this.#catalog(deadline)).find(name, deadline);
  }

  /** The server says that they changed, or contradicts them: the next use looks again. */
  doubt(): void {
    this.#isDoubted = true;
  }

  close(): void {
    this.#isClosed = true;
    this.#keep(0);
  }

  get #ageMs(): number {
    return this.#options.clock.monotonic() - this.#lookedAtMs;
  }

  #catalog(deadline: Deadline): Promise<Catalog> {
    const { announces, bounds } = this.#options;
    const isOld = !announces && this.#ageMs >= bounds.toolListFreshMs;
    if (this.#isDoubted || isOld) this.#current = this.#look();
    return deadline.wait(this.#current);
  }

  /** Which list is the session's. One that cannot be had is taken for everybody's, until there is another look. */
  async #look(): Promise<Catalog> {
    const { shared, list, clock } = this.#options;
    this.#isDoubted = false;
    this.#lookedAtMs = clock.monotonic();
    try {
      const everybodys = new Set(await shared.tools(this.#deadline()));
      const own = list();
      const shown = await own.tools(this.#deadline());
      const others = shown.filter((tool) => !everybodys.has(tool));
      const chars = others.reduce((sum, { definition }) => sum + JSON.stringify(definition).length, 0);
      const isSame = others.length === 0 && shown.length === everybodys.size;
      return this.#keep(chars) && !isSame ? own : shared;
    } catch {
      return shared;
    }
  }

  /** Whether there is room for so much. */
  #keep(chars: number): boolean {
    const { budget, bounds, log, serverId } = this.#options;
    const hasRoom = budget.chars - this.#chars + chars <= bounds.toolListsOwnCharsMax;
    const kept = hasRoom && !this.#isClosed ? chars : 0;
    budget.chars += kept - this.#chars;
    this.#chars = kept;
    if (!hasRoom) log.warn({ server: serverId }, 'a client is shown what everybody is: its own tools are too many');
    return hasRoom;
  }

  #deadline(signal?: AbortSignal): Deadline {
    return new Deadline(this.#options.clock, this.#options.listTimeoutMs, signal);
  }
}
