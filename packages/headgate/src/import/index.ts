import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { UsageError } from '../usage-error.ts'
import type { Draft } from './draft.ts'
import { importHaproxy } from './haproxy.ts'
import { importNginx } from './nginx.ts'

/** Translates a file of another proxy. Throws {@link UsageError} for a kind that is not known, or a file that cannot be read. */
export async function importFile (kind: string, file: string): Promise<Draft> {
  if (kind !== 'nginx' && kind !== 'haproxy') throw new UsageError(`'import' knows nginx and haproxy, not '${kind}'`)
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    throw new UsageError(`${file} cannot be read: ${(error as Error).message}`)
  }
  // Blocks in braces: whoever wrote it has another proxy in mind.
  if (kind === 'haproxy' && /[{;]\s*$/m.test(text)) throw new UsageError(`nothing in ${file} could be translated: it looks like nginx's language`)
  const draft = kind === 'nginx' ? importNginx(text, file) : importHaproxy(text, dirname(file))
  if (draft.empty) throw new UsageError(`nothing in ${file} could be translated: is it a configuration of ${kind}?`)
  return draft
}
