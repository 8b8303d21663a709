import { readFileSync } from 'node:fs'
import { FileWatch, systemClock } from '@headgate/core'
import type { LoadedConfig } from './config/read.ts'
import { placed } from './config/placed.ts'
import type { Proxy } from './proxy.ts'

/** Milliseconds after the last change of a file until it is read: editors write in several steps. */
const SETTLE = 100
/** Milliseconds between two looks where the file system does not tell of changes. */
const INTERVAL = 5000

/** Reads a configuration again and lets the proxy take it over. A bad one is told in the log, and changes nothing. */
export async function reload (proxy: Proxy, load: () => Promise<LoadedConfig>, why: string): Promise<void> {
  let loaded: LoadedConfig | undefined
  try {
    loaded = await load()
    const changes = await proxy.reload(loaded.options)
    const { log } = proxy.app
    if (changes.length === 0) return log.info({ why }, 'the configuration is the same as before')
    log.info({ why, changes }, 'configuration reloaded')
    const late = changes.filter(({ effect }) => effect === 'restart').map(({ path }) => path)
    if (late.length > 0) log.warn({ paths: late }, 'some changes take effect with the next start')
  } catch (error) {
    const { message } = (loaded === undefined ? error : placed(error, loaded.source)) as Error
    proxy.app.log.error({ why, reason: message }, 'configuration not reloaded: the running one goes on')
  }
}

/** Calls `changed` when a file has another content; editors and mounted volumes replace files whole. */
export function watchFile (file: string, changed: () => void): FileWatch {
  const read = (): string => {
    try {
      return readFileSync(file, 'utf8')
    } catch {
      return ''
    }
  }
  let last = read()
  return new FileWatch([file], { interval: INTERVAL, settle: SETTLE, clock: systemClock }, () => {
    const text = read()
    // Half written, or being replaced: the next look tells.
    if (text === '' || text === last) return
    last = text
    changed()
  })
}
