/** The difference of two texts by lines, as a unified diff: what is in the one only, in the other only, and around it. */

interface Line {
  readonly mark: ' ' | '-' | '+';
  readonly text: string;
}

export interface DiffOptions {
  readonly from: string;
  readonly to: string;
  /** Lines around each change. */
  readonly context: number;
  /** Texts whose differing parts have more pairs of lines than this are shown as one change. */
  readonly cellsMax: number;
}

/** Empty for texts that are alike. */
export function unifiedDiff(before: string, after: string, options: DiffOptions): string {
  if (before === after) return '';
  const lines = diffLines(before.split('\n'), after.split('\n'), options.cellsMax);
  return [`--- ${options.from}`, `+++ ${options.to}`, ...hunks(lines, options.context), ''].join('\n');
}

function diffLines(a: readonly string[], b: readonly string[], cellsMax: number): Line[] {
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a.at(-1 - tail) === b.at(-1 - tail)) tail++;
  return [
    ...a.slice(0, head).map(marked(' ')),
    ...middle(a.slice(head, a.length - tail), b.slice(head, b.length - tail), cellsMax),
    ...a.slice(a.length - tail).map(marked(' ')),
  ];
}

function marked(mark: Line['mark']) {
  return (text: string): Line => ({ mark, text });
}

function middle(a: readonly string[], b: readonly string[], cellsMax: number): Line[] {
  if (a.length * b.length > cellsMax) return [...a.map(marked('-')), ...b.map(marked('+'))];
  const width = b.length + 1;
  const common = commonLengths(a, b, width);
  const lines: Line[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && a[i] === b[j]) {
      lines.push({ mark: ' ', text: b[j++] ?? '' });
      i++;
    } else if (i < a.length && (common[(i + 1) * width + j] ?? 0) >= (common[i * width + j + 1] ?? 0)) {
      lines.push({ mark: '-', text: a[i++] ?? '' });
    } else if (j < b.length) {
      lines.push({ mark: '+', text: b[j++] ?? '' });
    } else {
      lines.push({ mark: '-', text: a[i++] ?? '' });
    }
  }
  return lines;
}

/** How many lines the texts from `i` and from `j` on have in common, at `i * width + j`. */
function commonLengths(a: readonly string[], b: readonly string[], width: number): Uint32Array {
  const common = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      common[i * width + j] =
        a[i] === b[j]
          ? (common[(i + 1) * width + j + 1] ?? 0) + 1
          : Math.max(common[(i + 1) * width + j] ?? 0, common[i * width + j + 1] ?? 0);
    }
  }
  return common;
}

function hunks(lines: readonly Line[], context: number): string[] {
  const near = lines.map((_, index) =>
    lines.slice(Math.max(0, index - context), index + context + 1).some(({ mark }) => mark !== ' '),
  );
  const texts: string[] = [];
  let [from, to] = [1, 1];
  for (let start = 0; start < lines.length; ) {
    let end = start;
    while (end < lines.length && near[end] === near[start]) end++;
    const part = lines.slice(start, end);
    const [before, after] = [
      part.filter(({ mark }) => mark !== '+').length,
      part.filter(({ mark }) => mark !== '-').length,
    ];
    if (near[start]) {
      texts.push(`@@ -${before === 0 ? from - 1 : from},${before} +${after === 0 ? to - 1 : to},${after} @@`);
      texts.push(...part.map(({ mark, text }) => mark + text));
    }
    [from, to, start] = [from + before, to + after, end];
  }
  return texts;
}
