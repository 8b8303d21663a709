// Writes config.schema.json beside the package's dist: node dist/config/write-schema.js
import { writeFileSync } from 'node:fs'
import { publishedSchema } from './published.ts'

writeFileSync(new URL('../../config.schema.json', import.meta.url), `${JSON.stringify(await publishedSchema(), null, 2)}\n`)
