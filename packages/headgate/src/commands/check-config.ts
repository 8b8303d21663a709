import { placed } from '../config/placed.ts'
import { findConfig, loadConfig } from '../config/read.ts'
import { onlyChecked } from '../kept.ts'
import { build, nested } from '../serve.ts'
import { UsageError } from '../usage-error.ts'

/** Checks a configuration, or the one that lies here where none is named (`''`). Gives the file's name. */
export async function checkConfig (named: string): Promise<string> {
  const file = named || findConfig(process.cwd())
  if (file === undefined) throw new UsageError('there is no headgate.config.{ts,js,json,yaml} here: name a file')
  const { options, source } = await loadConfig(file)
  // It is put together and never started: nothing listens, and nobody is asked how he is.
  try {
    const { tls } = options
    if (tls !== undefined) await nested('tls', async () => (await import('@headgate/tls')).checkCertificates(tls))
    const app = await build({ ...options, logLevel: 'silent' }, { kept: onlyChecked })
    await app.close()
  } catch (error) {
    throw placed(error, source)
  }
  return file
}
