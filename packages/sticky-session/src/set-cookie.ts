/** Name and value of a `Set-Cookie` field; `attributes` begins with the first semicolon. */
export interface SetCookie {
  readonly name: string
  readonly value: string
  readonly attributes: string
}

export function parseSetCookie (field: string): SetCookie | undefined {
  const semicolon = field.indexOf(';')
  const end = semicolon === -1 ? field.length : semicolon
  const equals = field.indexOf('=')
  if (equals === -1 || equals > end) return undefined
  return { name: field.slice(0, equals).trim(), value: field.slice(equals + 1, end).trim(), attributes: field.slice(end) }
}

/** Does it end the cookie's life (RFC 6265 5.3)? `now` is in milliseconds since the Unix epoch. */
export function deletes ({ value, attributes }: SetCookie, now: number): boolean {
  if (value === '' || value === '""') return true
  const maxAge = /;\s*max-age\s*=\s*(-?\d+)/i.exec(attributes)
  if (maxAge !== null) return Number(maxAge[1]) <= 0
  const expires = /;\s*expires\s*=\s*([^;]+)/i.exec(attributes)
  return expires !== null && Date.parse(expires[1]!) <= now
}

/** Calls `visit` for each `Set-Cookie` of the name; a string that it gives replaces the field's value. */
export function eachSetCookie (headers: string[], name: string, visit: (cookie: SetCookie) => string | undefined): void {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]!.length !== 10 || headers[i]!.toLowerCase() !== 'set-cookie') continue
    const cookie = parseSetCookie(headers[i + 1]!)
    if (cookie === undefined || cookie.name !== name) continue
    headers[i + 1] = visit(cookie) ?? headers[i + 1]!
  }
}
