// Lets Node versions that cannot run TypeScript by themselves import our sources: types are blanked in place, so line
// and column numbers (and with them coverage and stack traces) stay exact. Inert where Node strips types itself.
import { readFile } from 'node:fs/promises'
import { register } from 'node:module'
import { fileURLToPath } from 'node:url'
import { isMainThread } from 'node:worker_threads'

if (isMainThread && !process.features.typescript) register(import.meta.url)

let transformSync

export async function load (url, context, nextLoad) {
  if (!url.startsWith('file:') || !/\.m?ts(\?|$)/.test(url)) return nextLoad(url, context)
  transformSync ??= (await import('amaro')).transformSync
  const filename = fileURLToPath(url.replace(/\?.*$/, ''))
  const source = await readFile(filename, 'utf8')
  return { format: 'module', shortCircuit: true, source: transformSync(source, { mode: 'strip-only', filename }).code }
}
