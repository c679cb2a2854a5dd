"""Images, cameras and radiance fields: everything that learns. It stands on torch_utils and custom_ops; no script is known here."""
