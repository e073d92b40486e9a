/** Lines of a byte stream: newline is the only line end, and no line is longer than a bound. */
import { Malformed } from './bytes.ts';

const lineCharsMax = 4 * 1024 * 1024;

/** The lines of UTF-8 in chunks, as files give them in Node (a read stream) and in browsers (`blob.stream()`). */
export async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let rest = '';
  for await (const chunk of chunks) {
    const lines = (rest + decode(decoder, chunk)).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > lineCharsMax) throw new Malformed('A line is too long.');
    yield* lines;
  }
  rest += decode(decoder);
  if (rest !== '') yield rest;
}

function decode(decoder: TextDecoder, chunk?: Uint8Array): string {
  try {
    return decoder.decode(chunk, { stream: chunk !== undefined });
  } catch {
    throw new Malformed('The text is not UTF-8.');
  }
}
