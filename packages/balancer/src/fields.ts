/** The first value of a field in a flat list of names and values; `name` in lower case. */
export function fieldOf (headers: readonly string[], name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]!.length === name.length && headers[i]!.toLowerCase() === name) return headers[i + 1]!
  }
  return undefined
}
