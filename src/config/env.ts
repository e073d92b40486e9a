/** The only file that reads `process.env`; everything else takes the frozen copy that this one hands out. */
export type Environment = Readonly<Record<string, string>>;

/** A frozen copy of the environment of this process as it is now. */
export function readEnvironment(): Environment {
  const copy: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined) copy[name] = value;
  return Object.freeze(copy);
}
