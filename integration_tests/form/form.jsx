// The form of spec.json, as a platform that renders JSON schema shows it.
import React from 'react'
import { createRoot } from 'react-dom/client'
import Form from '@rjsf/core'
import validator from '@rjsf/validator-ajv8'

// A secret of several lines is masked too, which the password widget cannot do.
function MaskedArea({ id, value, onChange, placeholder }) {
  return (
    <textarea id={id} className="masked" rows={3} value={value ?? ''} placeholder={placeholder} autoComplete="off"
      onChange={e => onChange(e.target.value === '' ? undefined : e.target.value)} />
  )
}

// widgets chooses how each field is shown by the keywords that Airbyte adds to JSON schema.
function widgets(schema) {
  const ui = {}
  if (schema.airbyte_hidden) return { 'ui:widget': 'hidden' }
  if (schema.airbyte_secret) ui['ui:widget'] = schema.multiline ? MaskedArea : 'password'
  if (schema.const !== undefined) ui['ui:widget'] = 'hidden'
  if (schema.examples && schema.type === 'string') ui['ui:placeholder'] = String(schema.examples[0]).split('\n')[0]
  if (schema.oneOf) {
    ui.oneOf = schema.oneOf.map(widgets)
  }
  if (schema.properties) {
    const names = Object.keys(schema.properties)
    for (const name of names) ui[name] = widgets(schema.properties[name])
    names.sort((a, b) => (schema.properties[a].order ?? 0) - (schema.properties[b].order ?? 0))
    ui['ui:order'] = [...names, '*']
  }
  return ui
}

// rendered is the schema without additionalProperties, for which there would be buttons that add fields.
function rendered(schema) {
  if (Array.isArray(schema)) return schema.map(rendered)
  if (schema === null || typeof schema !== 'object') return schema
  const { additionalProperties, ...rest } = schema
  return Object.fromEntries(Object.entries(rest).map(([key, value]) => [key, key === 'examples' ? undefined : rendered(value)]))
}

window.show = schema => {
  window.submitted = undefined
  createRoot(document.getElementById('form')).render(
    <Form schema={rendered(schema)} uiSchema={widgets(schema)} validator={validator} showErrorList="top" noHtml5Validate
      onSubmit={({ formData }) => { window.submitted = formData }} />
  )
}
