/**
 * A simple-protocol query with one COPY … FROM STDIN among its statements, sent in one write with the data: one round
 * trip for rows, head and COMMIT. The server reads past the data if the COPY fails, or a statement before it.
 */
import pg from 'pg';

interface Wire {
  readonly stream: { cork(): void; uncork(): void };
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
}

type Callback = (error: Error | null, results: pg.QueryResult[]) => void;

// @types/pg knows the class but not that it takes a callback and can be submitted.
const Query = pg.Query as unknown as new (text: string, values: undefined, callback: Callback) => object;

class CopyQuery extends Query {
  readonly #text: string;
  readonly #rows: Buffer;

  constructor(text: string, rows: Buffer, callback: Callback) {
    super(text, undefined, callback);
    this.#text = text;
    this.#rows = rows;
  }

  submit(wire: Wire): null {
    wire.stream.cork();
    wire.query(this.#text);
    wire.sendCopyFromChunk(this.#rows);
    wire.endCopyFrom();
    wire.stream.uncork();
    return null;
  }

  // The data is already on its way.
  handleCopyInResponse(): void {}
}

/**
 * Runs `text` with `rows` (COPY text format) as its input. Resolves with the result of each statement; rejects with the
 * server's or the connection's error.
 */
export function copyQuery(client: pg.Client, text: string, rows: Buffer): Promise<pg.QueryResult[]> {
  return new Promise((resolve, reject) => {
    const query = new CopyQuery(text, rows, (error, results) =>
      error === null || error === undefined ? resolve(results) : reject(error),
    );
    client.query(query as unknown as pg.Submittable);
  });
}

const special = /[\\\t\n\r\0]/;
const escapes: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  '\t': '\\t',
  '\n': '\\n',
  '\r': '\\r',
  '\0': '\ufffd',
};

/** A field in COPY text format. NUL, which no PostgreSQL text can hold, becomes U+FFFD. */
export function copyField(value: string | null): string {
  if (value === null) return '\\N';
  return special.test(value) ? value.replace(/[\\\t\n\r\0]/g, (c) => escapes[c] as string) : value;
}
