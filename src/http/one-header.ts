/** A header that is sent once, as one text; several of one name are the one text that a list of them is (RFC 9110, 5.3). */
export function oneHeader(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header.join(', ') : header;
}
