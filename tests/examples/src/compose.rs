//! Reads the little of `docker-compose.yml` that the tests need: one value a line, as the file is written. Its form is
//! checked by `deploy/check`, against the specification's schema.

/// A service.
#[derive(Debug, Default)]
pub struct Service {
    /// Name.
    pub name: String,
    /// Its own keys and what follows them on their line (`image`, `apache/kafka:4.1.1`).
    pub keys: Vec<(String, String)>,
}

impl Service {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.keys.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    /// A key that is a list in brackets, such as `command`.
    pub fn list(&self, key: &str) -> Option<Vec<String>> {
        let value = self.get(key)?;
        let list = serde_json::from_str(value);
        Some(list.unwrap_or_else(|error| panic!("{}.{key}: {value}: {error}", self.name)))
    }
}

/// The services.
pub fn services(text: &str) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    let body = text.lines().skip_while(|line| *line != "services:").skip(1);
    for line in body.take_while(|line| line.is_empty() || line.starts_with([' ', '#'])) {
        let indent = line.len() - line.trim_start().len();
        let Some((key, value)) = line.trim().split_once(':') else {
            continue;
        };
        match indent {
            2 if !key.starts_with('#') => services.push(Service {
                name: key.to_owned(),
                ..Service::default()
            }),
            4 => {
                let service = services.last_mut().expect("a service");
                service.keys.push((key.to_owned(), value.trim().to_owned()));
            }
            _ => {}
        }
    }
    services
}
