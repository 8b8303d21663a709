/** May this place in a JSON value differ? */
export type Ignored = (path: readonly string[]) => boolean

/**
 * Compiles JSON Pointers (RFC 6901) in which `*` stands for any one step and `**` for any number of them, none included. What is below
 * an ignored place is never looked at.
 */
export function compileIgnored (pointers: readonly string[]): Ignored {
  const patterns = pointers.map((pointer) => pointer.slice(1).split('/').map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~')))
  if (patterns.length === 0) return () => false
  return (path) => patterns.some((pattern) => matches(pattern, 0, path, 0))
}

function matches (pattern: readonly string[], at: number, path: readonly string[], depth: number): boolean {
  if (at === pattern.length) return depth === path.length
  const step = pattern[at]!
  if (step === '**') {
    for (let from = depth; from <= path.length; from++) if (matches(pattern, at + 1, path, from)) return true
    return false
  }
  return depth < path.length && (step === '*' || step === path[depth]) && matches(pattern, at + 1, path, depth + 1)
}

/** A place as a JSON Pointer. */
export function pointerOf (path: readonly string[]): string {
  return path.map((step) => `/${step.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}
