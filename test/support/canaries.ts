/** Texts that are nowhere else, planted where secrets are, and looked for where they must not come out. */

const planted = new Map<string, string>();

/** A text that is nowhere else, under the name of the place that it is put. */
export function canary(place: string): string {
  const text = `canary-${place}-${'zqxj'.repeat(6)}-${planted.size}`;
  planted.set(place, text);
  return text;
}

/** A credential that the test made or was given; its last part alone is enough to know it by. */
export function known(place: string, credential: string): string {
  planted.set(place, credential);
  return credential;
}

/** For `afterAll`: what comes next plants its own. */
export function forgetPlanted(): void {
  planted.clear();
}

export function plantedCount(): number {
  return planted.size;
}

/** All that was planted; each is long enough not to be there by chance. */
export function plantedTexts(): readonly string[] {
  return [...planted.values()];
}

/** Where what was planted came out, with what stands before it: empty when nothing did. */
export function leaksIn(shown: readonly (readonly [where: string, output: string])[]): string[] {
  return [...planted].flatMap(([place, text]) =>
    spellings(text).flatMap((spelling) =>
      shown
        .filter(([, output]) => output.includes(spelling))
        .map(([where, output]) => {
          const at = output.indexOf(spelling);
          return `${place} in ${where}: ${output.slice(Math.max(0, at - 80), at + 20)}`;
        }),
    ),
  );
}

/** The ways in which a text may turn up. */
function spellings(text: string): string[] {
  const bytes = Buffer.from(text);
  return [text, bytes.toString('hex'), bytes.toString('base64').replace(/=+$/, ''), bytes.toString('base64url')];
}
