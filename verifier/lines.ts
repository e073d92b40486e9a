/** Lines of a byte stream: newline is the only line end, and no line is longer than a bound. */
import { demand, Refusal } from './bytes.ts';

const lineCharsMax = 4 * 1024 * 1024;

/** The lines of UTF-8 in chunks, as files give them in Node (a read stream) and in browsers (`blob.stream()`). */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let rest = '';
  for await (const chunk of chunks) {
    const lines = (rest + decoded(() => decoder.decode(chunk, { stream: true }))).split('\n');
    rest = lines.pop() ?? '';
    demand(rest.length <= lineCharsMax, 'A line is too long.');
    yield* lines;
  }
  rest += decoded(() => decoder.decode());
  if (rest !== '') yield rest;
}

function decoded(decode: () => string): string {
  try {
    return decode();
  } catch {
    throw new Refusal('The text is not UTF-8.');
  }
}
