interface Props {
  headers: [string, string][];
  onChange: (headers: [string, string][]) => void;
}

export function HeadersField({ headers, onChange }: Props) {
  const edit = (at: number, header: [string, string]) => onChange(headers.map((old, i) => (i === at ? header : old)));
  return (
    <fieldset className="headers">
      <legend>Headers</legend>
      {headers.map(([name, value], i) => (
        <div className="header-row" key={i}>
          <input type="text" aria-label={`Header ${i + 1}, name`} placeholder="name" value={name} autoComplete="off" onChange={(e) => edit(i, [e.target.value, value])} />
          <input type="text" aria-label={`Header ${i + 1}, value`} placeholder="value" value={value} autoComplete="off" onChange={(e) => edit(i, [name, e.target.value])} />
          <button type="button" className="icon" aria-label={`Remove header ${i + 1}`} onClick={() => onChange(headers.filter((_, other) => other !== i))}>✕</button>
        </div>
      ))}
      <button type="button" onClick={() => onChange([...headers, ["", ""]])}>Add a header</button>
    </fieldset>
  );
}
