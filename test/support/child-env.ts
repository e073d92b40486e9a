/** What a program needs from the environment of whoever starts it: tests give it the rest, and nothing else reaches it. */
const names = ['PATH', 'NODE_COMPILE_CACHE'];

export const childEnv: Readonly<Record<string, string>> = Object.fromEntries(
  names.flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value]];
  }),
);
