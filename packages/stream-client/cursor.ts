/** Cursors: base64url("<seconds>:<event id>"). Their text does not sort; decoded, they are the order of the log. */

interface Place {
  readonly seconds: number;
  readonly eventId: string;
}

/** Whether `cursor` stands behind `other` in the log. Everything stands behind the empty one. */
export function isAfter(cursor: string, other: string): boolean {
  if (other === '') return true;
  const [a, b] = [placeOf(cursor), placeOf(other)];
  return a.seconds === b.seconds ? a.eventId > b.eventId : a.seconds > b.seconds;
}

function placeOf(cursor: string): Place {
  const text = atob(cursor.replaceAll('-', '+').replaceAll('_', '/'));
  const colon = text.indexOf(':');
  return { seconds: Number(text.slice(0, colon)), eventId: text.slice(colon + 1) };
}
