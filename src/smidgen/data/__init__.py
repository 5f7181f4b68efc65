"""More from the data there is: views (columns to matrices), text shortening; later augmentation, selection, mixing."""
