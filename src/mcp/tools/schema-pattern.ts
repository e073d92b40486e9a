/**
 * Regular expressions of tool schemas, run in bounded time. JavaScript's engine backtracks, so an expression from one
 * stranger on a string from another could block the process. What cannot be checked within the bound counts as matching:
 * the tool server checks its own arguments, the gateway only spares it what is clearly wrong.
 */

export interface PatternShape {
  /** Whether something repeated repeats or branches inside: the time may double with every character. */
  readonly nested: boolean;
  /** How many parts may match a varying number of times: the time may grow by this power of the length. */
  readonly varying: number;
}

/** Steps that matching may take in the worst case; some tens of milliseconds. */
const stepsMax = 1e7;
const nestedSubjectCharsMax = 16;
const optionalPartsMax = 10;

export interface BoundedPattern {
  readonly test: (subject: string) => boolean;
  readonly toString: () => string;
}

/** Throws `SyntaxError` when `source` is no regular expression at all. */
export function boundedPattern(source: string, subjectCharsMax: number): BoundedPattern {
  const expression = compile(source);
  const charsMax = Math.min(subjectCharsMax, checkableChars(shapeOf(source)));
  return {
    test: (subject) => subject.length > charsMax || expression.test(subject),
    // Tells patterns apart where they are cached.
    toString: () => String(expression),
  };
}

/**
 * The same where the schema protects: a subject that is too long to be checked within the bound does not match. Throws for
 * an expression whose time may double with every character too.
 */
export function strictPattern(source: string, subjectCharsMax: number): BoundedPattern {
  const expression = compile(source);
  const shape = shapeOf(source);
  if (shape.nested) throw new SyntaxError('a repetition within a repetition');
  const charsMax = Math.min(subjectCharsMax, checkableChars(shape));
  return {
    test: (subject) => subject.length <= charsMax && expression.test(subject),
    toString: () => String(expression),
  };
}

/** Schemas mean Unicode expressions (JSON Schema 2020-12, section 6.4), but many are written without that in mind. */
function compile(source: string): RegExp {
  try {
    return new RegExp(source, 'u');
  } catch {
    return new RegExp(source);
  }
}

function checkableChars({ nested, varying }: PatternShape): number {
  if (nested) return nestedSubjectCharsMax;
  // One more power, because an expression that is not anchored is tried at every position.
  return Math.floor(stepsMax ** (1 / (varying + 1)));
}

interface Group {
  /** Whether anything inside repeats, is optional or branches. */
  varies: boolean;
}

/** A syntactic over-estimate; `source` must be a valid expression. */
export function shapeOf(source: string): PatternShape {
  const scan = { nested: false, varying: 0, optional: 0 };
  const open: Group[] = [{ varies: false }];
  let atom: Group | undefined;
  for (let at = 0; at < source.length; ) {
    const char = source[at] as string;
    const quantifier = atom === undefined ? undefined : quantifierAt(source, at);
    if (quantifier !== undefined && atom !== undefined) {
      count(scan, quantifier, atom);
      (open.at(-1) as Group).varies = true;
      atom = undefined;
      at += quantifier.length;
      continue;
    }
    if (char === '(') open.push({ varies: false });
    if (char === '|') (open.at(-1) as Group).varies = true;
    atom = char === ')' ? close(open) : isAtom(char) ? { varies: false } : undefined;
    at = afterPart(source, at);
  }
  return { nested: scan.nested || scan.optional > optionalPartsMax, varying: scan.varying };
}

function count(
  scan: { nested: boolean; varying: number; optional: number },
  quantifier: Quantifier,
  atom: Group,
): void {
  if (quantifier.max > 1 && atom.varies) scan.nested = true;
  if (quantifier.max === 1) scan.optional++;
  else if (quantifier.min !== quantifier.max) scan.varying++;
}

function close(open: Group[]): Group {
  const group = open.length > 1 ? (open.pop() as Group) : { varies: false };
  if (group.varies) (open.at(-1) as Group).varies = true;
  return group;
}

function isAtom(char: string): boolean {
  return char !== '(' && char !== '|' && char !== '^' && char !== '$';
}

/** The position after the escape, class, group opening or character at `at`. */
function afterPart(source: string, at: number): number {
  if (source[at] === '\\') return at + 2;
  if (source[at] === '[') return afterClass(source, at);
  const opening = /^\((?:\?(?:<[^>=!]*>|<?[=!]|[a-z-]*:))?/.exec(source.slice(at, at + 80));
  return at + (opening?.[0].length ?? 1);
}

function afterClass(source: string, start: number): number {
  for (let at = start + 1; at < source.length; at++) {
    if (source[at] === '\\') at++;
    else if (source[at] === ']') return at + 1;
  }
  return source.length;
}

interface Quantifier {
  readonly min: number;
  readonly max: number;
  readonly length: number;
}

const simpleQuantifiers: Readonly<Record<string, readonly [number, number]>> = {
  '*': [0, Number.POSITIVE_INFINITY],
  '+': [1, Number.POSITIVE_INFINITY],
  '?': [0, 1],
};

function quantifierAt(source: string, at: number): Quantifier | undefined {
  const match = /^(?:([*+?])|\{(\d+)(,)?(\d+)?\})\??/.exec(source.slice(at, at + 40));
  if (match === null) return undefined;
  const [text, simple, low, comma, high] = match;
  const range = simpleQuantifiers[simple ?? ''];
  if (range !== undefined) return { min: range[0], max: range[1], length: text.length };
  const min = Number(low);
  return {
    min,
    max: high !== undefined ? Number(high) : comma === undefined ? min : Number.POSITIVE_INFINITY,
    length: text.length,
  };
}
