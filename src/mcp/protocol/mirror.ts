/** An argument of a tool that is repeated in a header of HTTP. */
export interface Mirror {
  readonly path: readonly string[];
  readonly header: string;
}
